"""What must stay private: secrets out of texts, modes of files, names of accounts."""
