"""`python -m sandbox.channel_advisor --port 8601 --data .run/sandbox`"""

from sandbox.channel_advisor.server import ChannelAdvisor
from sandbox.kernel.serve import main

if __name__ == "__main__":
    main(ChannelAdvisor, 8601)
