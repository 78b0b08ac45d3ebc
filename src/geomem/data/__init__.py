"""Users' data, read on the scale of diffusion models, and split into nested subsets."""

from geomem.data.bundled import digits
from geomem.data.dataset import DataSet
from geomem.data.folder import Preparation
from geomem.data.load import holds_image_files, load
from geomem.data.splits import Split, nested_split

__all__ = ["DataSet", "Preparation", "Split", "digits", "holds_image_files", "load", "nested_split"]
