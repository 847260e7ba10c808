#!/bin/sh
# Set the desired capacity of an AWS Auto Scaling group of worker hosts to what the policies need; run it every minute.
#   asg.sh GROUP POOL WORKERS_A_HOST LEAST MOST
# The group should have a terminate lifecycle hook of 60 s, so that the unit's stop (SIGTERM, drain) comes to its end.
set -eu
group=$1 pool=$2 each=$3 least=$4 most=$5
needed=$(snapfleet workers needed --output json \
  | python3 -c 'import json, sys; print(sum(row["needed"] for row in json.load(sys.stdin) if row["pool"] == sys.argv[1]))' "$pool")
hosts=$(( (needed + each - 1) / each ))
[ "$hosts" -ge "$least" ] || hosts=$least
[ "$hosts" -le "$most" ] || hosts=$most
aws autoscaling set-desired-capacity --auto-scaling-group-name "$group" --desired-capacity "$hosts"
