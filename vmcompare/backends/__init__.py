"""How each platform is really driven: one module (or package) each, behind `sandbox.Launcher`."""
