"""Does what a job says; decides nothing about time or policy. Handlers by verb, drivers by noun."""
