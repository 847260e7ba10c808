"""An emulated Azure Resource Manager for compute, with a small Entra token endpoint: one HTTPS service.

What it imitates is written in each module with its source: the official swagger files (DiskRP 2023-10-02, ComputeRP
2024-03-01), their examples, and recordings of the real service in the Azure SDK's and CLI's repositories.
"""
