"""Query-time mathematics: from a synset and queries to attributions."""
