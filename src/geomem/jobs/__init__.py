"""The jobs behind the commands: requests, the engine that runs their parts, and what each measures and says."""
