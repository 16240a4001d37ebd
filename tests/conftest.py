def pytest_configure(config):
    # torch warns of its own use of torch.jit.script when forward-mode derivatives are first asked
    # for; nothing here calls it.
    config.addinivalue_line(
        "filterwarnings", "ignore:.torch.jit.script. is deprecated:DeprecationWarning"
    )
