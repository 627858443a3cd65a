"""What is fitted on train: statistics that add up, scalers, encoders, imputers, the transform."""
