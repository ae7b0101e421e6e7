"""Array namespaces that only tests need: other meanings of `xp` under which a definition is proved, checked or provoked."""
