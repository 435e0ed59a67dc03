"""`python -m sandbox.tims_legacy --port 8602 --data .run/sandbox`"""

from sandbox.kernel.serve import main
from sandbox.tims_legacy.server import LegacyTims

if __name__ == "__main__":
    main(LegacyTims, 8602)
