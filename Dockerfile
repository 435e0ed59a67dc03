# The image of every Airflow process (and of the sandbox): the official one with the project's pins and code in it.
# Where a registry mirror must be used, name it: docker build --build-arg AIRFLOW_IMAGE=mirror.example.com/apache/airflow:3.3.2-python3.12
ARG AIRFLOW_IMAGE=apache/airflow:3.3.2-python3.12
FROM ${AIRFLOW_IMAGE}

COPY --chown=airflow:0 requirements.txt requirements-image.txt /opt/airflow/
RUN pip install --no-cache-dir -r /opt/airflow/requirements.txt -r /opt/airflow/requirements-image.txt

COPY --chown=airflow:0 pyproject.toml /opt/airflow/
COPY --chown=airflow:0 include /opt/airflow/include
COPY --chown=airflow:0 plugins /opt/airflow/plugins
COPY --chown=airflow:0 dags /opt/airflow/dags
RUN pip install --no-cache-dir --no-deps -e /opt/airflow && mkdir -p /opt/airflow/inbox

ENV PYTHONPATH=/opt/airflow/include:/opt/airflow/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=false \
    AIRFLOW__USAGE_DATA_COLLECTION__ENABLED=false \
    GX_ANALYTICS_ENABLED=false
