"""TinyQ for qflows."""
