"""Array namespaces that only tests need: other meanings of `xp`, to prove, check or provoke a definition."""
