"""Generated from proto/ by raftlog._tools.genproto; do not edit."""
