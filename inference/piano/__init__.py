"""PAR: streaming autoregressive piano transcription."""
