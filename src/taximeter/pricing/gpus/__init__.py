"""GPU profiles: how fast and how dear a GPU is, as far as a rate card must know.

model     a profile, and what it makes of operations: seconds and Tokens
files     profiles as YAML files, read as strictly as a catalog
*.yaml    the profiles that come with the program, one file each
"""

from taximeter.pricing.gpus.files import builtin_gpus, find_gpu, read_gpu
from taximeter.pricing.gpus.model import Gpu, GpuPrice, Timing, tokens_per_second

__all__ = ["Gpu", "GpuPrice", "Timing", "builtin_gpus", "find_gpu", "read_gpu", "tokens_per_second"]
