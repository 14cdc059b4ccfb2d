"""The weights of a run's last epoch as safetensors, for programs that do not read torch's checkpoints."""

from pathlib import Path

from safetensors.torch import save

from serving.system.atomic import replacing
from training.errors import RunError
from training.runs.run import Run


def write_weights(run: Run) -> Path:
    """Write RUN/model.safetensors: the parameters and buffers that are exported, by their names here.

    Its metadata hold the architecture, the number of classes and the epochs, as text.

    Raises:
        RunError: there is no whole epoch, or the file cannot be written.
    """
    model = run.model()
    architecture = run.architecture.describe()
    metadata = {
        "format": "pt",
        "classes": str(len(run.facts.classes)),
        **{f"architecture.{name}": str(value) for name, value in architecture.items()},
    }
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    path = run.folder / "model.safetensors"
    try:
        with replacing(path) as file:
            file.write(save(tensors, metadata))
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}; make room") from error
    return path
