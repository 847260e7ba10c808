"""One verb a module: `run(context, job)` does what the job's kind says, knows jobs and no cloud."""
