"""Everything of dawbridge that touches the outside world: sockets, files, MIDI, the command line."""
