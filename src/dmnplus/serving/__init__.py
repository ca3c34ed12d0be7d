"""The HTTP server: questions in batches, and the page. Needs `pip install 'dmnplus[serve]'`."""
