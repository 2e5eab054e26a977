"""python -m jaxcnn: the same as the command `jaxcnn`."""

import sys

from jaxcnn.cli.main import main

sys.exit(main())
