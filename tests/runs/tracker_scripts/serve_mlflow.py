"""MLflow's own REST application over a database, in one process: `serve_mlflow.py FILE`."""

import os
import sys

# Read at import.
os.environ["_MLFLOW_SERVER_FILE_STORE"] = f"sqlite:///{sys.argv[1]}"
os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = os.path.dirname(sys.argv[1])

from mlflow.server import app
from werkzeug.serving import make_server

server = make_server("127.0.0.1", 0, app)
sys.stdout.write(f"{server.server_port}\n")
sys.stdout.flush()
server.serve_forever()
