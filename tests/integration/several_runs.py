"""What torchrun's processes execute in the tests: several runs and a drifting epoch, for one start-up."""

import json
import sys
from pathlib import Path

from serving.command_line import leave
from tests.integration.drifting import drift
from training.fit import main
from training.fitting.parallel import joined

if __name__ == "__main__":
    with joined("batches"):
        statuses = [main(flags) for flags in json.loads(sys.argv[1])]
        drift(Path(sys.argv[2]))
    leave(max(statuses))
