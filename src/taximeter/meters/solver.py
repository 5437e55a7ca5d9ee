"""How often VoxCPM's solver asks its network in one decode step."""


def evaluations(timesteps: int) -> int:
    """Evaluations with ``timesteps`` solver steps: the first 4 % of the step's ends, one at least, are taken as zero unasked."""
    return timesteps - max(1, (timesteps + 1) * 4 // 100)
