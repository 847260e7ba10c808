"""The command line: one file a noun, each command thin: parse, call one function, print, exit by the outcome."""
