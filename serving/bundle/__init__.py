"""The format of an exported model: its folder, manifest and calibration (docs/bundle.md)."""

from serving.bundle.bundle import Bundle, bundle_folders, check_target, read_bundle, write_bundle
from serving.bundle.calibration import Calibration
from serving.bundle.manifest import (
    FORMAT_VERSION,
    NEWEST_FORMAT,
    ROWS,
    UNSEALED,
    CalibrationSpec,
    DataSet,
    Manifest,
    Named,
    SegmentSpec,
    TensorSpec,
)
from serving.bundle.samples import Samples
from serving.images.preprocessing import Preprocessing

__all__ = [
    "FORMAT_VERSION",
    "NEWEST_FORMAT",
    "ROWS",
    "UNSEALED",
    "Bundle",
    "Calibration",
    "CalibrationSpec",
    "DataSet",
    "Manifest",
    "Named",
    "Preprocessing",
    "Samples",
    "SegmentSpec",
    "TensorSpec",
    "bundle_folders",
    "check_target",
    "read_bundle",
    "write_bundle",
]
