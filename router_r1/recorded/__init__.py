"""What real candidates once said, asked again: a pool of recorded replies, and routes that are answered from them."""

from router_r1.recorded.conclusion import conclusion_of
from router_r1.recorded.replies import RecordedQuestion, RecordedReplies, RecordedReply, load_recorded
from router_r1.recorded.routes import RecordedRoutes

__all__ = [
    "RecordedQuestion",
    "RecordedReplies",
    "RecordedReply",
    "RecordedRoutes",
    "conclusion_of",
    "load_recorded",
]
