"""Single-round routers judged by recorded scores alone: no endpoint is asked, and all see the same questions."""
