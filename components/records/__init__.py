"""What every modality shares: record identity, splits, reasons, accounting, manifests, files."""
