"""`python -m sandbox.channel_advisor_v1 --port 8601 --data .run/sandbox`: Channel Advisor in both dialects."""

from sandbox.channel_advisor_v1.server import ChannelAdvisor
from sandbox.kernel.serve import main

if __name__ == "__main__":
    main(ChannelAdvisor, 8601)
