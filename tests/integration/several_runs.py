"""What torchrun's processes execute in the tests: several runs, one after the other, for one start-up."""

import json
import sys

from serving.command_line import leave
from training.fit import main
from training.fitting.parallel import joined

if __name__ == "__main__":
    with joined("batches"):
        statuses = [main(flags) for flags in json.loads(sys.argv[1])]
    leave(max(statuses))
