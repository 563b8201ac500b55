"""What an operator sees and does: metrics, health, status, control. Nothing here is in the path of a call."""
