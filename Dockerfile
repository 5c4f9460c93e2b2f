# One image for three uses: the command line, a worker of Beam's engines, and the launcher of the Dataflow Flex Template.
#   docker build --tag embedbeam . && docker run --rm --volume "$PWD:/work" --user "$(id -u):$(id -g)" embedbeam run my.yaml
# All three images below have the same minor version of Python, and Beam's version is the one that setup.py asks for.
ARG BEAM_VERSION=2.77.0

FROM apache/beam_python3.11_sdk:${BEAM_VERSION} AS sdk

FROM gcr.io/dataflow-templates-base/python311-template-launcher-base:20240812-rc01 AS launcher

FROM python:3.11-slim-bookworm AS wheel
WORKDIR /source
COPY setup.py pyproject.toml README.md LICENSE NOTICE ./
COPY pipeline pipeline
COPY transforms transforms
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim-bookworm
ARG BEAM_VERSION
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[local,pdf,dataflow]" "apache-beam==${BEAM_VERSION}" \
    && pip check \
    && useradd --uid 10001 --create-home embedbeam \
    && install --directory --owner=embedbeam /work
COPY --from=sdk /opt/apache/beam /opt/apache/beam
COPY --from=launcher /opt/google/dataflow/python_template_launcher /opt/google/dataflow/python_template_launcher
COPY pipeline/template.py /template/launch.py

# Workers use what is installed here; they would make a new environment in a folder of root's otherwise.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 \
    FLEX_TEMPLATE_PYTHON_PY_FILE=/template/launch.py
USER 10001
WORKDIR /work
# Isolated (-I), so that a folder named pipeline in the place where people work is not taken for ours.
ENTRYPOINT ["python", "-I", "-m", "pipeline.container"]
