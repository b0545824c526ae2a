"""Data: one record per dataset (`datasets`), the arrays (`store`), and readers for each kind of source."""
