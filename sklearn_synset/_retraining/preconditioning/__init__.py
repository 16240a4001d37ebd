"""Steps that are scaled by the curvature of layers and inputs."""
