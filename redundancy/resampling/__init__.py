"""What resampling whole images says about any estimator: its spread, and whether two layers are independent."""
