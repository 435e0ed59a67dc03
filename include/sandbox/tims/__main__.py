"""`python -m sandbox.tims --port 8602 --data .run/sandbox`"""

from sandbox.kernel.serve import main
from sandbox.tims.server import Tims

if __name__ == "__main__":
    main(Tims, 8602)
