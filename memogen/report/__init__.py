"""Pictures of models and memories, and the self-contained HTML page of a run."""
