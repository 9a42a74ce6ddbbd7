"""How bundles are made: extractors exported, heads, manifests."""
