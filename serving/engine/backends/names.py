"""The names of runtimes and of what they compute in; a command line needs no more of this package."""

from typing import Literal

RuntimeName = Literal["onnxruntime", "openvino"]
AskedRuntime = Literal["auto", "onnxruntime", "openvino"]
InferencePrecision = Literal["float32", "bfloat16"]
"""The type that a network stored in float32 is computed in."""
AskedPrecision = Literal["auto", "float32", "bfloat16"]
"""`auto`: the precision that a bundle was calibrated in, where this machine has it."""
