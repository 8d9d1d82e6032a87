"""The four notions of redundancy, information and their neighbours, layer by layer, from hidden states."""
