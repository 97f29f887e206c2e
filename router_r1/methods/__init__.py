"""Methods that answer questions: a trained router is one; baselines, cascades and routers of the user's are others."""

from router_r1.methods.method import (
    METHOD_ARGUMENTS,
    METHODS,
    CheckedMethod,
    Method,
    MethodFactory,
    check_method,
    trajectory_of,
)

__all__ = ["METHOD_ARGUMENTS", "METHODS", "CheckedMethod", "Method", "MethodFactory", "check_method", "trajectory_of"]
