"""Limits on what users give, each far beyond what any data set or model needs; docs/data.md and docs/models.md state them.

They bound time and memory before anything is allocated. Beyond them, reading is bounded by the free memory (`memory.check_memory`).
"""

__all__ = [
    "DEEPEST_JSON",
    "LARGEST_HEADER",
    "LARGEST_IMAGE",
    "LARGEST_JSON",
    "LARGEST_LABEL",
    "LARGEST_SIDE",
    "LONGEST_HEADER",
    "MOST_AXES",
    "MOST_STEPS",
]

# Bytes of a configuration, and nesting of its lists and objects.
LARGEST_JSON, DEEPEST_JSON = 2**22, 32
# Bytes of the header of a .npy file; NumPy's own are below 200.
LONGEST_HEADER = 10_000
# Bytes of the header of a .safetensors file; those of the largest models are below a million.
LARGEST_HEADER = 2**24
# Axes of an array, as NumPy had them for twenty years.
MOST_AXES = 32
# Pixels of an image file, as Pillow recommends, and side that images are resized to.
LARGEST_IMAGE, LARGEST_SIDE = 89_478_485, 4096
# Steps of a noise process, and number of a class.
MOST_STEPS, LARGEST_LABEL = 10**6, 10**6
