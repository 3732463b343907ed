"""What must stay private: secrets in texts, file modes, account names."""
