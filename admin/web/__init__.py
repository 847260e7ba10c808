"""The page: what the fleet does and holds, over HTTPS, behind a login. It reads the catalog and writes wishes."""
