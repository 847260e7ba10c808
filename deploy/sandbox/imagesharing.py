"""Launch permissions and other attributes of images.

"ModifyImageAttribute", "DescribeImageAttribute" (EC2 API reference); "Share an AMI" (EC2 user guide): launch
permission lets the other account run the image without sharing its snapshots with it.
"""

from deploy.sandbox import kms
from deploy.sandbox.call import Call, operation
from deploy.sandbox.errors import AwsError, bad_value, missing, required
from deploy.sandbox.images import Image
from deploy.sandbox.sharing import EVERYONE, permission_changes


def _owned(call: Call, parameters: dict) -> Image:
    identifier = required(parameters, "ImageId")
    if identifier not in call.here.images:
        raise missing("ami", identifier)
    return call.here.images[identifier]


@operation("ec2", "ModifyImageAttribute")
def modify_image_attribute(call: Call, parameters: dict) -> dict:
    image = _owned(call, parameters)
    if parameters.get("Description"):
        image.description = parameters["Description"].get("Value", "")
        return {"Return": True}
    for verb, who in permission_changes(parameters, "LaunchPermission"):
        if verb == "add":
            _check(image, who)
            image.shared_with[who] = None
            call.world.image_shares[image.region, who][image.id] = image
        else:
            image.shared_with.pop(who, None)
            call.world.image_shares[image.region, who].pop(image.id, None)
    return {"Return": True}


def _check(image: Image, who: str) -> None:
    if any(kms.is_default(s.key) for s in image.snapshots):
        raise AwsError("InvalidParameter", "Images with snapshots under the default EBS key cannot be shared")
    if who == EVERYONE and any(s.key for s in image.snapshots):
        raise AwsError("InvalidParameter", "Images with encrypted snapshots cannot be made public")


@operation("ec2", "DescribeImageAttribute")
def describe_image_attribute(call: Call, parameters: dict) -> dict:
    image, attribute = _owned(call, parameters), required(parameters, "Attribute")
    if attribute == "launchPermission":
        who = [{"Group": w} if w == EVERYONE else {"UserId": w} for w in image.shared_with]
        return {"ImageId": image.id, "LaunchPermissions": who}
    if attribute == "description":
        return {"ImageId": image.id, "Description": {"Value": image.description}}
    if attribute == "blockDeviceMapping":
        return {"ImageId": image.id, "BlockDeviceMappings": image.mappings}
    raise bad_value(f"Value ({attribute}) for parameter attribute is invalid.")
