"""The processor: a pure domain, and a Faust runtime around it that loses and doubles nothing."""
