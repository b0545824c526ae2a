"""Data: one record per dataset (`datasets`), the arrays (`store`), the splits (`folds`), and readers."""
