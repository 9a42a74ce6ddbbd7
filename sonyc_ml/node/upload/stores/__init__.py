"""Where outputs go: object stores, and those that rename; credentials, and what is never shown of them."""
