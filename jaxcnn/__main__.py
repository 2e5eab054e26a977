"""`python -m jaxcnn`, equivalent to the command `jaxcnn`."""

import sys

from jaxcnn.cli.main import main

sys.exit(main())
