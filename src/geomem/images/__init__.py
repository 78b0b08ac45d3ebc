"""Real data: what people have, on the scale of diffusion models, and how it is divided into nested subsets."""

from geomem.images.bundled import digits
from geomem.images.dataset import DataSet
from geomem.images.folder import Preparation
from geomem.images.load import holds_image_files, load
from geomem.images.splits import Split, nested_split

__all__ = ["DataSet", "Preparation", "Split", "digits", "holds_image_files", "load", "nested_split"]
