"""Programs of other projects that the benches run beside ours; they import nothing of ours."""
